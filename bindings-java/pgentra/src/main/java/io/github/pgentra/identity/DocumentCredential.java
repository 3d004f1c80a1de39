package io.github.pgentra.identity;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A credential of the engine, described by a document. */
abstract class DocumentCredential extends Credential {
    private final Map<String, Object> document = new LinkedHashMap<>();
    private final AssertionCredential assertion;

    DocumentCredential(String type, Map<String, Object> settings, AssertionCredential assertion) {
        document.put("type", type);
        document.putAll(settings);
        this.assertion = assertion;
    }

    @Override
    public Map<String, Object> document(List<Credential> members) {
        Map<String, Object> copy = new LinkedHashMap<>(document);
        if (assertion != null) {
            copy.put("get_assertion", assertion.credential.document(members));
        }
        return copy;
    }

    @Override
    public String toString() {
        return getClass().getSimpleName();
    }
}
