# The warnings that all our code is clean under, with gcc 12 and clang 14.
add_library(stemma_warnings INTERFACE)
target_compile_options(stemma_warnings INTERFACE
    -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wundef -Wwrite-strings
    $<$<BOOL:${STEMMA_WERROR}>:-Werror>)
