package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.Map;

/** Builds a {@link ManagedIdentityCredential}, as azure-identity's builder of this name. */
public final class ManagedIdentityCredentialBuilder {
    private final Map<String, Object> document = new LinkedHashMap<>();

    /** The client id of a user-assigned identity. */
    public ManagedIdentityCredentialBuilder clientId(String value) {
        document.put("client_id", value);
        return this;
    }

    /** The object id of a user-assigned identity. */
    public ManagedIdentityCredentialBuilder objectId(String value) {
        document.put("object_id", value);
        return this;
    }

    /** The resource id of a user-assigned identity. */
    public ManagedIdentityCredentialBuilder resourceId(String value) {
        document.put("resource_id", value);
        return this;
    }

    /** Builds the credential. Its settings are checked when it is first used. */
    public ManagedIdentityCredential build() {
        return new ManagedIdentityCredential(document, null);
    }
}
