package io.github.pgentra;

import java.util.Locale;

/** When tokens are refreshed. */
public enum RefreshMode {
    /** When a caller uses a token past its refresh point; the caller does not wait. The default. */
    BACKGROUND,
    /** Only while a caller waits: for functions that are frozen between calls. */
    LAZY,
    /** Also on a timer, without a caller. */
    AHEAD;

    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT);
    }
}
