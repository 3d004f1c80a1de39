package io.github.pgentra;

import java.time.Instant;
import java.util.Objects;

/** A role name and the token that is its password. */
public final class Login {
    private final String user;
    private final String password;
    private final String userSource;
    private final Instant expiresOn;

    /** For the library. */
    public Login(String user, String password, String userSource, Instant expiresOn) {
        this.user = Objects.requireNonNull(user);
        this.password = Objects.requireNonNull(password);
        this.userSource = userSource;
        this.expiresOn = expiresOn;
    }

    /** Returns the role to log in as. */
    public String user() {
        return user;
    }

    /** Returns the token: a secret that must be sent over TLS only. The same string is returned as long as it is the same token. */
    public String password() {
        return password;
    }

    /**
     * Returns the source of the role name: {@code user}, {@code PGUSER}, the name of a claim, {@code management token} or
     * {@code fallback_username}.
     */
    public String userSource() {
        return userSource;
    }

    /** Returns when the token expires. */
    public Instant expiresOn() {
        return expiresOn;
    }

    @Override
    public String toString() {
        return "Login[user=" + user + ", userSource=" + userSource + ", expiresOn=" + expiresOn + "]";
    }
}
