package io.github.pgentra.internal;

import io.github.pgentra.identity.Credential;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The options of an entry point: a configuration document (docs/config.schema.json) and a credential. */
public final class Settings {
    private final Map<String, Object> config = new LinkedHashMap<>();
    private Credential credential;
    private Map<String, String> environment;

    /** Sets an option; null unsets it. */
    public void put(String key, Object value) {
        if (value == null) {
            config.remove(key);
        } else {
            config.put(key, value);
        }
    }

    /** Returns an option, or null. */
    public Object get(String key) {
        return config.get(key);
    }

    /** Sets the credential; null: the default chain. */
    public void credential(Credential value) {
        credential = value;
    }

    /** Returns the credential, or null for the default chain. */
    public Credential credential() {
        return credential;
    }

    /** Sets the variables; null: those of the process. */
    public void environment(Map<String, String> variables) {
        environment = variables == null ? null : Map.copyOf(variables);
    }

    /** Returns the variables that were set, or null for those of the process. */
    public Map<String, String> variables() {
        return environment;
    }

    /** Returns all variables; of the process, with Java system properties of the same names put over them. */
    public Map<String, Object> allVariables() {
        Map<String, Object> all = new LinkedHashMap<>();
        if (environment != null) {
            all.putAll(environment);
            return all;
        }
        all.putAll(System.getenv());
        for (String name : System.getProperties().stringPropertyNames()) {
            // The names of Java itself have dots.
            if (name.indexOf('.') < 0) {
                all.put(name, System.getProperty(name));
            }
        }
        return all;
    }

    /** Returns the variables for a configuration document. */
    public Map<String, Object> environment() {
        return environment == null ? Native.environment(Native.KNOWN_VARIABLES) : new LinkedHashMap<>(environment);
    }

    /** Returns the variables for a connection plan. */
    public Map<String, Object> connectionEnvironment() {
        return environment == null ? Native.environment(Native.CONNECTION_VARIABLES) : new LinkedHashMap<>(environment);
    }

    /** Returns a copy, which later changes do not reach. */
    public Settings copy() {
        Settings copy = new Settings();
        copy.config.putAll(config);
        copy.credential = credential;
        copy.environment = environment;
        return copy;
    }

    /** Opens a provider. */
    public TokenClient open() {
        Map<String, Object> document = new LinkedHashMap<>(config);
        document.put("environment", environment());
        if (credential == null) {
            return new TokenClient(document, null);
        }
        List<Credential> members = new ArrayList<>();
        Map<String, Object> described = credential.document(members);
        if (members.isEmpty()) {
            document.put("credential", described);
            document.putAll(credential.config());
            return new TokenClient(document, null);
        }
        return new TokenClient(document, credential.open(document.get("environment")));
    }
}
