# find_package(collegium): the libraries are shared and keep their third parties to themselves, so
# the package file has nothing to find but threads.

configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/collegium-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/collegium-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/collegium)
write_basic_package_version_file(
  ${CMAKE_CURRENT_BINARY_DIR}/collegium-config-version.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT collegium-targets NAMESPACE collegium::
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/collegium COMPONENT collegium_headers)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/collegium-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/collegium-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/collegium COMPONENT collegium_headers)
