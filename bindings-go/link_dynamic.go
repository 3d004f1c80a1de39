//go:build pgentra_dynamic

package pgentra

// #cgo pkg-config: pgentra
import "C"
