package io.github.pgentra.identity;

import io.github.pgentra.AccessToken;
import io.github.pgentra.AsyncTokenSource;
import io.github.pgentra.TokenRequest;
import io.github.pgentra.TokenSource;
import io.github.pgentra.internal.CredentialHandle;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;

/**
 * A credential. The subclasses have the names and builders of azure-identity; {@link #of} makes one of a function of the
 * application. A credential can be used for several providers, and directly by {@link #getToken}.
 */
public abstract class Credential {
    private CredentialHandle handle;

    /** For the library. */
    protected Credential() {}

    /**
     * Makes a credential of a function of the application.
     *
     * @param source returns a token; called on a thread of the engine, which it may block
     */
    public static Credential of(TokenSource source) {
        Objects.requireNonNull(source, "source");
        return ofAsync(name(source), request -> CompletableFuture.completedFuture(source.getToken(request)));
    }

    /**
     * Makes a credential of a function that returns its token later.
     *
     * @param source starts to fetch a token
     */
    public static Credential ofAsync(AsyncTokenSource source) {
        return ofAsync(name(source), source);
    }

    /**
     * Makes a credential of a function that returns its token later.
     *
     * @param name stands in errors, logs and statistics
     * @param source starts to fetch a token
     */
    public static Credential ofAsync(String name, AsyncTokenSource source) {
        return new CustomCredential(name, Objects.requireNonNull(source, "source"));
    }

    /** A lambda has no name that would say anything. */
    private static String name(Object source) {
        return source.getClass().isHidden() ? "TokenSource" : source.getClass().getSimpleName();
    }

    /**
     * Returns a token; waits only while none is usable.
     *
     * @throws io.github.pgentra.EntraException there is no token
     */
    public AccessToken getToken(TokenRequest request) {
        return open(null).token(request);
    }

    /** As {@link #getToken}, without blocking. */
    public CompletableFuture<AccessToken> getTokenAsync(TokenRequest request) {
        return open(null).tokenAsync(request);
    }

    /** For the library: the credential's document. Custom credentials in it are added to {@code members}. */
    public abstract Map<String, Object> document(List<Credential> members);

    /** For the library: keys that belong beside the credential's document. */
    public Map<String, Object> config() {
        return Map.of();
    }

    /** For the library: opens the credential, once. {@code environment}: the variables; null: those of the process. */
    public synchronized CredentialHandle open(Object environment) {
        if (handle == null) {
            List<Credential> members = new ArrayList<>();
            Map<String, Object> config = new LinkedHashMap<>(config());
            config.put("credential", document(members));
            config.put(
                    "environment",
                    environment != null ? environment : io.github.pgentra.internal.Environment.variables());
            List<CredentialHandle> handles = new ArrayList<>();
            for (Credential member : members) {
                handles.add(member.open(environment));
            }
            handle = CredentialHandle.open(config, handles);
        }
        return handle;
    }
}
