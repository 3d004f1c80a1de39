package samples;

import io.github.pgentra.Login;
import io.github.pgentra.TokenProvider;
import io.quarkus.credentials.CredentialsProvider;
import io.smallrye.mutiny.Uni;
import java.util.Map;

/**
 * Quarkus: add {@code @ApplicationScoped} and {@code @Named("entra")}, and set
 * {@code quarkus.datasource.credentials-provider=entra}. Agroal asks it for each new connection, the reactive clients without
 * blocking. The URL needs {@code sslmode=verify-full}.
 */
public class EntraCredentials implements CredentialsProvider {
    private final TokenProvider provider = TokenProvider.builder().build();

    @Override
    public Map<String, String> getCredentials(String name) {
        return credentials(provider.login());
    }

    @Override
    public Uni<Map<String, String>> getCredentialsAsync(String name) {
        return Uni.createFrom().completionStage(() -> provider.loginAsync()).map(EntraCredentials::credentials);
    }

    private static Map<String, String> credentials(Login login) {
        return Map.of(USER_PROPERTY_NAME, login.user(), PASSWORD_PROPERTY_NAME, login.password());
    }
}
