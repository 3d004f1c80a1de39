//go:build pgentra_never

// Package platform_is_not_supported has no files for any build: its name is in the one error of a build for a platform
// without a library. docs/platforms.md lists the platforms.
package platform_is_not_supported
