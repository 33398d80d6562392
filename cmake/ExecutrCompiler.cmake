# SPDX-License-Identifier: MIT
# The compiler settings of our own targets; nothing of this is exported.
add_library(executr_compiler INTERFACE)
target_compile_definitions(executr_compiler INTERFACE _GNU_SOURCE)
target_include_directories(executr_compiler INTERFACE
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib)
target_compile_options(executr_compiler INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes
    -Wmissing-prototypes -Wformat=2 -Wundef -Wvla -fno-common
    -fstack-protector-strong
    $<$<BOOL:${EXECUTR_WERROR}>:-Werror>)
target_link_options(executr_compiler INTERFACE -Wl,-z,relro,-z,now)

if(EXECUTR_SANITIZE)
    target_compile_options(executr_compiler INTERFACE
        -fsanitize=${EXECUTR_SANITIZE} -fno-omit-frame-pointer
        -fno-sanitize-recover=undefined)
    target_link_options(executr_compiler INTERFACE
        -fsanitize=${EXECUTR_SANITIZE})
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
    target_compile_definitions(executr_compiler INTERFACE _FORTIFY_SOURCE=2)
endif()

if(EXECUTR_FUZZ) # coverage to steer by; only the targets have libFuzzer's main
    target_compile_options(executr_compiler INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(executr_compiler INTERFACE -fsanitize=fuzzer-no-link)
endif()
