//go:build pgentra_never

// Package cgo_is_required has no files for any build: its name is in the one error of a build with CGO_ENABLED=0.
package cgo_is_required
