package pgentra

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

type logTarget struct{ logger *slog.Logger }

var (
	logger   atomic.Pointer[logTarget]
	logStart sync.Once
)

// SetLogger sends the events of this package to a logger: failed refreshes as errors and warnings, recovery as information,
// every fetch and decision as debug messages. Events contain no tokens and no secrets. nil drops all events. The default is
// [slog.Default] for warnings and errors only.
func SetLogger(target *slog.Logger) { logger.Store(&logTarget{target}) }

// log sends an event to the logger.
func log(level slog.Level, target, message string) {
	found := logger.Load()
	switch {
	case found == nil && level >= slog.LevelWarn:
		slog.Default().Log(context.Background(), level, message, slog.String("target", target))
	case found != nil && found.logger != nil:
		found.logger.Log(context.Background(), level, message, slog.String("target", target))
	}
}

// warn logs a warning of this package itself.
func warn(message string) { log(slog.LevelWarn, "pgentra", message) }

// startLog starts the goroutine that passes the events of the library on. It waits for a pipe, which costs no thread.
func startLog() {
	logStart.Do(func() {
		reader, writer, err := os.Pipe()
		if err != nil {
			warn("events of the library are not logged: " + err.Error())
			return
		}
		startNativeLog(writer.Fd())
		go passEvents(reader, writer)
	})
}

// passEvents keeps the writer open.
func passEvents(reader, writer *os.File) {
	wake := make([]byte, 64)
	for {
		if _, err := reader.Read(wake); err != nil {
			_ = writer.Close()
			return
		}
		for {
			level, target, message, dropped, ok := takeEvent()
			if dropped > 0 {
				warn(fmt.Sprintf("%d events of the library were dropped", dropped))
			}
			if !ok {
				break
			}
			log(levelOf(level), target, message)
		}
	}
}

func levelOf(level int) slog.Level {
	switch level {
	case 1:
		return slog.LevelError
	case 2:
		return slog.LevelWarn
	case 3:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

// Logger returns the logger of this package's events, for packages of drivers. It is never nil.
func Logger() *slog.Logger {
	found := logger.Load()
	switch {
	case found == nil:
		return slog.Default()
	case found.logger == nil:
		return slog.New(slog.DiscardHandler)
	default:
		return found.logger
	}
}
