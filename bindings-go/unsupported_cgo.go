//go:build !cgo

package pgentra

// The library is linked by cgo. Set CGO_ENABLED=1 and install a C compiler.
import _ "github.com/pgentra/pgentra/bindings-go/internal/cgo_is_required"
