package io.github.pgentra;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** What is logged to a logger while this is open. {@link System.Logger} logs to {@link Logger} in these tests. */
public final class Records extends Handler implements AutoCloseable {
    private final Logger logger;
    private final List<String> messages = new CopyOnWriteArrayList<>();

    private Records(Logger logger) {
        this.logger = logger;
        logger.addHandler(this);
    }

    public static Records of(String name) {
        return new Records(Logger.getLogger(name));
    }

    /** The messages of warnings and errors. */
    public List<String> messages() {
        return messages;
    }

    @Override
    public void publish(LogRecord entry) {
        if (entry.getLevel().intValue() >= Level.WARNING.intValue()) {
            messages.add(entry.getMessage());
        }
    }

    @Override
    public void flush() {}

    @Override
    public void close() {
        logger.removeHandler(this);
    }
}
