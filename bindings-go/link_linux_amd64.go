//go:build cgo && !pgentra_dynamic

package pgentra

import _ "github.com/pgentra/pgentra/bindings-go/lib/linux_amd64" // The library, which is linked into the program.
