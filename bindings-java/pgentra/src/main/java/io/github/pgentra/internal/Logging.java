package io.github.pgentra.internal;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.concurrent.atomic.AtomicBoolean;

/** Passes the engine's log events to {@link System.Logger}, with the logger names of the engine, such as {@code pgentra}. */
final class Logging {
    private static final AtomicBoolean STARTED = new AtomicBoolean();
    private static final Level[] LEVELS = {Level.OFF, Level.ERROR, Level.WARNING, Level.INFO, Level.DEBUG};

    /** Kept here, because the native library does not keep it. */
    private static final LogSink SINK = Logging::log;

    private Logging() {}

    static void start() {
        Native.require();
        if (!STARTED.compareAndSet(false, true)) {
            return;
        }
        Logger root = System.getLogger("pgentra");
        int level = LEVELS.length - 1;
        while (level > 0 && !root.isLoggable(LEVELS[level])) {
            level--;
        }
        byte[][] errors = new byte[1][];
        Native.setLog(level, SINK, errors);
        Errors.check(errors);
    }

    private static void log(int level, byte[] target, byte[] message) {
        if (level > 0 && level < LEVELS.length) {
            System.getLogger(Native.string(target).replace("::", ".")).log(LEVELS[level], Native.string(message));
        }
    }
}
