package io.github.pgentra;

import java.time.Instant;
import java.util.Objects;

/** A token with its expiry. */
public final class AccessToken {
    private final String token;
    private final Instant expiresOn;
    private final Instant refreshOn;

    /**
     * @param token the token
     * @param expiresOn when it expires; null: its {@code exp} claim
     */
    public AccessToken(String token, Instant expiresOn) {
        this(token, expiresOn, null);
    }

    /**
     * @param token the token
     * @param expiresOn when it expires; null: its {@code exp} claim
     * @param refreshOn when it should be refreshed; null: decided by its lifetime
     */
    public AccessToken(String token, Instant expiresOn, Instant refreshOn) {
        this.token = Objects.requireNonNull(token, "token");
        this.expiresOn = expiresOn;
        this.refreshOn = refreshOn;
    }

    /** Returns the token: a secret. */
    public String token() {
        return token;
    }

    /** Returns when the token expires, or null if only its claims tell. */
    public Instant expiresOn() {
        return expiresOn;
    }

    /** Returns when the token should be refreshed, or null. */
    public Instant refreshOn() {
        return refreshOn;
    }

    @Override
    public String toString() {
        return "AccessToken[expiresOn=" + expiresOn + "]";
    }
}
