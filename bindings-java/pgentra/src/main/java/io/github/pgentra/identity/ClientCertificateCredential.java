package io.github.pgentra.identity;

import java.util.Map;

/** An application with a certificate. Made by {@link ClientCertificateCredentialBuilder}. */
public final class ClientCertificateCredential extends DocumentCredential {
    ClientCertificateCredential(Map<String, Object> document, AssertionCredential assertion) {
        super("client_certificate", document, assertion);
    }
}
