// Package linux_amd64 links the static library of pgentra for linux on amd64 into a program. Package pgentra imports it.
//
// The archive is built by tools/go.sh, never committed.
package linux_amd64

/*
#cgo !pgentra_testing LDFLAGS: ${SRCDIR}/libpgentra.a -lutil -lrt -lpthread -lm -ldl
#cgo pgentra_testing LDFLAGS: ${SRCDIR}/libpgentra_testing.a -lutil -lrt -lpthread -lm -ldl
*/
import "C"
