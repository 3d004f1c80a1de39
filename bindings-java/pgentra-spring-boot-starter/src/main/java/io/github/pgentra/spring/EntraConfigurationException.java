package io.github.pgentra.spring;

/** pgentra is enabled, and cannot be applied to a data source. Spring Boot prints the action beside the description. */
public class EntraConfigurationException extends IllegalStateException {
    private static final long serialVersionUID = 1L;

    private final String description;
    private final String action;

    EntraConfigurationException(String description, String action, Throwable cause) {
        super(description + ". " + action, cause);
        this.description = description;
        this.action = action;
    }

    EntraConfigurationException(String description, String action) {
        this(description, action, null);
    }

    /** Returns what cannot be applied, and why. */
    public String description() {
        return description;
    }

    /** Returns what to change. */
    public String action() {
        return action;
    }
}
