package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Credentials that are tried in their order, until one is available. Made by {@link ChainedTokenCredentialBuilder}. */
public final class ChainedTokenCredential extends Credential {
    private final List<Credential> credentials;

    ChainedTokenCredential(List<Credential> credentials) {
        this.credentials = List.copyOf(credentials);
    }

    @Override
    public Map<String, Object> document(List<Credential> members) {
        Map<String, Object> document = new LinkedHashMap<>();
        document.put("type", "chained");
        document.put(
                "credentials",
                credentials.stream().map(member -> member.document(members)).toList());
        return document;
    }
}
