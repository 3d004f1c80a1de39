package io.github.pgentra.identity;

import java.util.ArrayList;
import java.util.List;

/** Builds a {@link ChainedTokenCredential}, as azure-identity's builder of this name. */
public final class ChainedTokenCredentialBuilder {
    private final List<Credential> credentials = new ArrayList<>();

    /** Adds a credential after those added before. */
    public ChainedTokenCredentialBuilder addLast(Credential credential) {
        credentials.add(credential);
        return this;
    }

    /** Adds a credential before those added before. */
    public ChainedTokenCredentialBuilder addFirst(Credential credential) {
        credentials.add(0, credential);
        return this;
    }

    /** Adds credentials after those added before. */
    public ChainedTokenCredentialBuilder addAll(List<? extends Credential> added) {
        credentials.addAll(added);
        return this;
    }

    /** Builds the chain. */
    public ChainedTokenCredential build() {
        return new ChainedTokenCredential(credentials);
    }
}
