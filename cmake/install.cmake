# What `cmake --install` copies: headers, the library, the command line, files for find_package and pkg-config, the licence.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/cumulus)
file(RELATIVE_PATH libdir_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/cumulus.pc.in cumulus.pc @ONLY)
configure_package_config_file(cmake/cumulusConfig.cmake.in cumulusConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(cumulusConfigVersion.cmake COMPATIBILITY SameMajorVersion)

install(DIRECTORY include/cumulus DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS cumulus EXPORT cumulus)
install(EXPORT cumulus NAMESPACE cumulus:: FILE cumulusTargets.cmake DESTINATION ${package_dir})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cumulusConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/cumulusConfigVersion.cmake DESTINATION ${package_dir})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cumulus.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(CUMULUS_BUILD_CLI)
  install(TARGETS cumulus_cli)
endif()
