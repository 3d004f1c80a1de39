//go:build pgentra_testing

package pgentra

/*
#include "pgentra.h"

int32_t pgentra_run_vector(const char *group, const char *one, const char *directory, const char **outcome,
                           pgentra_error **error);
*/
import "C"

// runVector runs a case of tests/vectors in the engine and returns its result as JSON.
func runVector(group, one, directory string) (string, error) {
	named, free := secretCString(group)
	defer free()
	given, freeGiven := secretCString(one)
	defer freeGiven()
	folder, freeFolder := secretCString(directory)
	defer freeFolder()
	var outcome *C.char
	var failed *C.pgentra_error
	if err := takeError(C.pgentra_run_vector(named, given, folder, &outcome, &failed), failed); err != nil {
		return "", err
	}
	return takeString(outcome), nil
}
