package io.github.pgentra.identity;

import io.github.pgentra.AsyncTokenSource;
import io.github.pgentra.internal.CredentialHandle;
import java.util.List;
import java.util.Map;

/** A credential of the application. */
final class CustomCredential extends Credential {
    private final String name;
    private final AsyncTokenSource source;
    private CredentialHandle handle;

    CustomCredential(String name, AsyncTokenSource source) {
        this.name = name.isEmpty() ? "custom credential" : name;
        this.source = source;
    }

    @Override
    public Map<String, Object> document(List<Credential> members) {
        members.add(this);
        return Map.of("type", "custom_credential", "index", members.size() - 1);
    }

    @Override
    public synchronized CredentialHandle open(Object environment) {
        if (handle == null) {
            handle = CredentialHandle.custom(name, source);
        }
        return handle;
    }
}
