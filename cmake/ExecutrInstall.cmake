# SPDX-License-Identifier: MIT
# What a package of executr holds, and how other programs find the library.
# The programs install themselves beside it (apps/).
include(CMakePackageConfigHelpers)

set(executr_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/executr)

install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/executr
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE
    DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Two sets, because only a static link needs our own dependencies.
foreach(kind Shared Static)
    string(TOLOWER ${kind} lower)
    install(TARGETS executr_${lower} EXPORT executr${kind}Targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(EXPORT executr${kind}Targets NAMESPACE executr::
        DESTINATION ${executr_package_dir})
endforeach()

configure_package_config_file(
    ${PROJECT_SOURCE_DIR}/cmake/executrConfig.cmake.in
    ${PROJECT_BINARY_DIR}/cmake/executrConfig.cmake
    INSTALL_DESTINATION ${executr_package_dir})
write_basic_package_version_file(
    ${PROJECT_BINARY_DIR}/cmake/executrConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES
    ${PROJECT_BINARY_DIR}/cmake/executrConfig.cmake
    ${PROJECT_BINARY_DIR}/cmake/executrConfigVersion.cmake
    DESTINATION ${executr_package_dir})

# The prefix is found from where the file is, so the tree can be moved.
function(executr_pc_path out dir)
    if(IS_ABSOLUTE ${dir})
        set(${out} ${dir} PARENT_SCOPE)
    else()
        set(${out} "\${prefix}/${dir}" PARENT_SCOPE)
    endif()
endfunction()
set(EXECUTR_PC_PREFIX ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
    file(RELATIVE_PATH EXECUTR_PC_PREFIX
        ${EXECUTR_PC_PREFIX} ${CMAKE_INSTALL_PREFIX})
else()
    file(RELATIVE_PATH EXECUTR_PC_PREFIX /${EXECUTR_PC_PREFIX} /)
endif()
executr_pc_path(EXECUTR_PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
executr_pc_path(EXECUTR_PC_LIBDIR ${CMAKE_INSTALL_LIBDIR})
configure_file(${PROJECT_SOURCE_DIR}/cmake/executr.pc.in
    ${PROJECT_BINARY_DIR}/cmake/executr.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/cmake/executr.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
