# bash completion for stemma, and for NAME@SELECTOR behind any command.
#
# Installed where bash-completion finds it, it serves 'stemma'. Sourced from ~/.bashrc it also completes versions for the commands that
# are listed at its end ('cat word@<TAB>'), and for others after 'stemma_complete_versions COMMAND...'.
# bash takes what stands behind an '@' for a host name. Where a word has an '@' and 'NAME@/' is a directory of versions, its names are
# offered; a word in quotes is not understood, and bash then does as always.

# The word before the cursor, whole: bash itself cuts it at '@'.
_stemma_word()
{
    local line=${COMP_LINE:0:COMP_POINT}
    printf '%s' "${line##*[[:space:]]}"
}

# Fills COMPREPLY with the versions and links of the file in the current word. Fails when that is no NAME@...
_stemma_versions()
{
    local word base rest name cut=
    word=$(_stemma_word)
    [[ $word == *@* ]] || return 1
    base=${word%@*}
    rest=${word##*@}
    # What the user types is a shell word: ~ and \ stand for something.
    local dir=${base/#\~\//$HOME/}
    dir=${dir//\\/}
    [[ $rest != */* && -d $dir@/ ]] || return 1
    [[ $COMP_WORDBREAKS == *@* ]] || cut=$base@
    COMPREPLY=()
    while IFS= read -r name; do
        [[ $name == "$rest"* && $name != log && $name != log.jsonl ]] && COMPREPLY+=("$cut$name")
    done < <(command ls -1 -- "$dir@/" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -gt 0 ]]
}

_stemma()
{
    local word command i
    local commands="init mount umount upgrade status log show restore import help"
    COMPREPLY=()
    _stemma_versions && return
    word=$(_stemma_word)
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == -* ]] || { command=${COMP_WORDS[i]} && break; }
    done
    if [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands --help --version" -- "$word")
        return
    fi
    if [[ $command == mount && ${COMP_WORDS[COMP_CWORD - 1]} == @(-o|--options) ]]; then
        mapfile -t COMPREPLY < <(compgen -W \
            "ro rw allow_other noallow_other versions=hidden versions=listed max_threads= nonempty exec noexec supervise nosupervise hang_timeout= debug" -- "$word")
        return
    fi
    if [[ $word == -* ]]; then
        case $command in
        mount) mapfile -t COMPREPLY < <(compgen -W "-o --options -f --foreground --help" -- "$word") ;;
        status | log) mapfile -t COMPREPLY < <(compgen -W "--json --help" -- "$word") ;;
        umount) mapfile -t COMPREPLY < <(compgen -W "-l --lazy --help" -- "$word") ;;
        upgrade) mapfile -t COMPREPLY < <(compgen -W "--binary --help" -- "$word") ;;
        import) mapfile -t COMPREPLY < <(compgen -W "--dictd --git --help" -- "$word") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "--help" -- "$word") ;;
        esac
    elif [[ $command == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
    fi
}
complete -o bashdefault -o default -F _stemma stemma

# The commands get versions completed unless they have a completion of their own.
stemma_complete_versions()
{
    local command
    for command in "$@"; do
        complete -p "$command" &>/dev/null || complete -o bashdefault -o default -F _stemma_versions "$command"
    done
}
stemma_complete_versions cat less head tail wc cmp cp diff
