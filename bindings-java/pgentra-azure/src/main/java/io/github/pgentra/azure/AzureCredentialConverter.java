package io.github.pgentra.azure;

import com.azure.core.credential.TokenCredential;
import io.github.pgentra.identity.Credential;
import io.github.pgentra.identity.CredentialConverter;

/** Lets {@code azure.tokenCredentialProviderClassName} name a supplier of a {@link TokenCredential}. */
public final class AzureCredentialConverter implements CredentialConverter {
    /** Called by {@link java.util.ServiceLoader}. */
    public AzureCredentialConverter() {}

    @Override
    public Credential convert(Object credential) {
        return credential instanceof TokenCredential azure ? AzureCredential.of(azure) : null;
    }
}
