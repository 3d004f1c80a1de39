package io.github.pgentra.internal;

import java.util.Map;

/** The environment of the process. */
public final class Environment {
    private Environment() {}

    /** Returns the variables that a credential reads, with Java system properties of the same names put over them. */
    public static Map<String, Object> variables() {
        return Native.environment(Native.KNOWN_VARIABLES);
    }
}
