package io.github.pgentra.internal;

/** Receives log events, one at a time, on a thread of the engine. */
interface LogSink {
    /**
     * @param level 1 error, 2 warning, 3 info, 4 debug
     * @param target the logger's name in UTF-8
     * @param message the text in UTF-8
     */
    void log(int level, byte[] target, byte[] message);
}
