//go:build race

package pgentra_test

const raceEnabled = true
