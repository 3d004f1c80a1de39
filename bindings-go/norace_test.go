//go:build !race

package pgentra_test

const raceEnabled = false
