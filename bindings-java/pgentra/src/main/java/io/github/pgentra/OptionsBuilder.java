package io.github.pgentra;

import io.github.pgentra.identity.Credential;
import io.github.pgentra.internal.Settings;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;

/**
 * The options of every entry point. They are read once, when the entry point is built.
 *
 * @param <B> the builder itself
 */
public abstract class OptionsBuilder<B extends OptionsBuilder<B>> {
    /** The options so far. */
    protected final Settings settings = new Settings();

    /** For the library. */
    protected OptionsBuilder() {}

    @SuppressWarnings("unchecked")
    private B self() {
        return (B) this;
    }

    private B put(String key, Object value) {
        settings.put(key, value);
        return self();
    }

    /** The credential. Default: {@link io.github.pgentra.identity.DefaultAzureCredential}. */
    public B credential(Credential credential) {
        settings.credential(credential);
        return self();
    }

    /** The server's host name, which tells the cloud where neither the scope nor the credential does. */
    public B host(String host) {
        return put("host", host);
    }

    /** The role to log in as. Default: {@code PGUSER}, then the token's claims. */
    public B user(String user) {
        return put("user", user);
    }

    /** The role where the token names none. */
    public B fallbackUsername(String role) {
        return put("fallback_username", role);
    }

    /** Whether a management token may be requested for the role name. Default: true. */
    public B managementLookup(boolean allowed) {
        return put("management_lookup", allowed);
    }

    /** The scope to request. Default: the cloud's. */
    public B scope(String scope) {
        return put("scope", scope);
    }

    /** When tokens are refreshed. Default: {@link RefreshMode#BACKGROUND}. */
    public B mode(RefreshMode mode) {
        return put("mode", mode.toString());
    }

    /** The longest wait of a caller for a token. Default: 30 s. */
    public B timeout(Duration timeout) {
        return put("timeout", timeout.toMillis() / 1000.0);
    }

    /** Whether tokens are cached. Default: true; false requests one for each connection. */
    public B cache(boolean cache) {
        return put("cache", cache);
    }

    /** A PEM file of certificate authorities to trust for token requests, besides the system's. */
    public B caFile(Path file) {
        return put("ca_file", file.toString());
    }

    /**
     * The environment variables. Default: those of the process, with the Java system properties of the same names put over
     * them.
     */
    public B environment(Map<String, String> variables) {
        settings.environment(variables);
        return self();
    }
}
