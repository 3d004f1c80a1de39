// Package darwin_arm64 links the static library of pgentra for darwin on arm64 into a program. Package pgentra imports it.
//
// The archive is built by tools/go.sh, never committed.
package darwin_arm64

/*
#cgo !pgentra_testing LDFLAGS: ${SRCDIR}/libpgentra.a -liconv -framework Security -framework CoreFoundation -framework SystemConfiguration
#cgo pgentra_testing LDFLAGS: ${SRCDIR}/libpgentra_testing.a -liconv -framework Security -framework CoreFoundation -framework SystemConfiguration
*/
import "C"
