#compdef stemma
# zsh completion for stemma; NAME@SELECTOR is completed from the directory 'NAME@/'.

_stemma_path()
{
    local word=$PREFIX base
    if [[ $word == *@* ]]; then
        base=${(Q)word%@*}
        base=${base/#\~\//$HOME/}
        if [[ -d $base@/ ]]; then
            local -a names
            names=("$base"@/*(N:t))
            names=(${names:#log(|.jsonl)})
            compset -P '*@'
            compadd -V versions -a names && return
        fi
    fi
    _files
}

_stemma()
{
    local -a commands
    commands=(
        'init:make an empty store'
        'mount:mount a store on a directory'
        'umount:unmount; returns when all is safe'
        'upgrade:replace the daemon of a mount while it is in use'
        'status:what a store or mount is, and how it does'
        'log:list the versions of a file'
        'show:print one version of a file'
        'restore:make an old version the newest'
        'import:bring in a directory, a dictd database or a git repository'
        'help:explain a command'
    )
    if ((CURRENT == 2)); then
        _describe -t commands 'stemma command' commands
        _arguments '--help[overview]' '--version[which version this is]'
        return
    fi
    local command=$words[2]
    ((CURRENT--))
    shift words
    case $command in
    init) _arguments '--help' '*:store:_directories' ;;
    mount)
        _arguments '--help' '*-o[mount options]:option:_values -s , option ro rw allow_other noallow_other "versions:what readdir lists:(hidden listed)" "max_threads:number" nonempty exec noexec supervise nosupervise "hang_timeout:seconds" debug' \
            '(-f --foreground)'{-f,--foreground}'[stay in the foreground]' '1:store:_directories' '2:directory:_directories'
        ;;
    umount) _arguments '--help' '(-l --lazy)'{-l,--lazy}'[detach at once]' '*:directory:_directories' ;;
    upgrade) _arguments '--help' '--binary[the program that is to serve]:program:_files' '*:path:_files' ;;
    status | log) _arguments '--help' '--json[for programs]' '*:path:_stemma_path' ;;
    show | restore) _arguments '--help' '*:path:_stemma_path' ;;
    import) _arguments '--help' '--dictd[a dictd database]:name:' '--git[a git repository]:repository:_directories' '*:path:_stemma_path' ;;
    help) _describe -t commands 'stemma command' commands ;;
    esac
}

_stemma "$@"
