# What every target of ours shares, and how a unit test is declared.

# stm_configure(TARGET): language level, warnings and definitions of our own code. The rank of locks is checked in debug builds.
function(stm_configure target)
    target_compile_definitions(${target} PRIVATE
        _GNU_SOURCE STEMMA_VERSION="${PROJECT_VERSION}" $<$<CONFIG:Debug>:STEMMA_LOCK_CHECK>)
    target_link_libraries(${target} PRIVATE stemma_warnings Threads::Threads)
endfunction()

# stm_add_test(NAME [SOURCES file...] [LINK layer] [LABEL label] [TIMEOUT seconds]): tests/NAME.c and more, linked with a layer and what
# lies below it (stemma_store unless said). Tests may include any header. The label 'rocksdb' keeps a test out of the TSan build.
function(stm_add_test name)
    cmake_parse_arguments(ARG "" "LINK;TIMEOUT" "SOURCES;LABEL" ${ARGN})
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 60)
    endif()
    if(NOT ARG_LINK)
        set(ARG_LINK stemma_store)
    endif()
    add_executable(${name} ${name}.c ${ARG_SOURCES})
    stm_configure(${name})
    target_include_directories(${name} PRIVATE
        ${PROJECT_SOURCE_DIR}/store ${PROJECT_SOURCE_DIR}/fs ${PROJECT_SOURCE_DIR}/src ${CMAKE_CURRENT_SOURCE_DIR})
    target_link_libraries(${name} PRIVATE stemma_test_support ${ARG_LINK} PkgConfig::CMOCKA PkgConfig::JANSSON PkgConfig::FUSE3)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES
        LABELS "unit;${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT} SKIP_RETURN_CODE 77 ENVIRONMENT "${STEMMA_TEST_ENVIRONMENT}")
endfunction()
