package pgentra

import (
	"testing"

	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
)

func TestMain(m *testing.M) { emulator.Main(m) }
