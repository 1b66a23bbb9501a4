# Sanitizers, chosen by STEMMA_SANITIZE for the whole build. Their run-time options lie in tests/*.supp and are set by stm_add_test().
set(STEMMA_TEST_ENVIRONMENT "")
if(STEMMA_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
    set(STEMMA_TEST_ENVIRONMENT
        "ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1"
        "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
        "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/lsan.supp:print_suppressions=0")
elseif(STEMMA_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
    add_link_options(-fsanitize=thread)
    set(STEMMA_TEST_ENVIRONMENT
        "TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp:halt_on_error=1:second_deadlock_stack=1")
elseif(STEMMA_SANITIZE)
    message(FATAL_ERROR "STEMMA_SANITIZE is '${STEMMA_SANITIZE}': use 'address' or 'thread', or leave it empty")
endif()
if(STEMMA_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
