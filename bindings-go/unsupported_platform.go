//go:build cgo && !pgentra_dynamic && !(linux && amd64) && !(linux && arm64) && !(darwin && arm64)

package pgentra

// There is no library for this platform. Build with the tag pgentra_dynamic if libpgentra is installed.
import _ "github.com/pgentra/pgentra/bindings-go/internal/platform_is_not_supported"
