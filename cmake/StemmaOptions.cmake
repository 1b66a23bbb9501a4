# Every choice that a builder has, in one place. Included before project().

option(STEMMA_WERROR "Treat warnings as errors" OFF)
option(STEMMA_CCACHE "Use ccache when it is installed" ON)
option(STEMMA_FUZZ "Build the fuzz targets (clang only; every file is instrumented for them)" OFF)
set(STEMMA_SANITIZE "" CACHE STRING "Empty, 'address' (with undefined and leak), or 'thread'")
set_property(CACHE STEMMA_SANITIZE PROPERTY STRINGS "" address thread)
set(STEMMA_SBINDIR "/sbin" CACHE PATH "Where mount.stemma and umount.stemma go; mount(8) looks only in /sbin and a few siblings")
set(STEMMA_UNITDIR "/lib/systemd/system" CACHE PATH "Where stemma@.service goes")

# Asserts are for our own mistakes and stay on in releases: no -DNDEBUG.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g" CACHE STRING "Flags of a release build")
if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release" FORCE)
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)

if(STEMMA_CCACHE AND NOT CMAKE_C_COMPILER_LAUNCHER)
    find_program(STEMMA_CCACHE_PROGRAM ccache)
    if(STEMMA_CCACHE_PROGRAM)
        set(CMAKE_C_COMPILER_LAUNCHER "${STEMMA_CCACHE_PROGRAM}")
    endif()
endif()
