using Azure.Core;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra.AzureCore;

/// <summary>The base class of PgEntra's credentials for clients of the Azure SDK. Equal credentials share their tokens.</summary>
/// <remarks>
/// If the application uses Azure.Identity, errors are its <c>CredentialUnavailableException</c> or
/// <c>AuthenticationFailedException</c>, with the <see cref="PgEntraException"/> as the inner exception. So its chains continue with the next
/// credential after an unavailable one.
/// </remarks>
public abstract class PgEntraTokenCredential : TokenCredential
{
    private protected PgEntraTokenCredential(CredentialSource source) => Source = source;

    internal CredentialSource Source { get; }

    /// <inheritdoc/>
    public override Azure.Core.AccessToken GetToken(TokenRequestContext requestContext, CancellationToken cancellationToken)
    {
        try
        {
            return Convert(Tokens.Get(Source, Convert(requestContext), cancellationToken));
        }
        catch (PgEntraException failure)
        {
            throw AzureErrors.Of(failure);
        }
    }

    /// <inheritdoc/>
    public override async ValueTask<Azure.Core.AccessToken> GetTokenAsync(
        TokenRequestContext requestContext, CancellationToken cancellationToken)
    {
        try
        {
            var token = await Tokens.GetAsync(Source, Convert(requestContext), cancellationToken).ConfigureAwait(false);
            return Convert(token);
        }
        catch (PgEntraException failure)
        {
            throw AzureErrors.Of(failure);
        }
    }

    private static Azure.Core.AccessToken Convert(PgEntra.Identity.AccessToken token) =>
        new(token.Token, token.ExpiresOn, token.RefreshOn);

    private static TokenRequest Convert(TokenRequestContext context)
    {
        if (context.Scopes is not [{ Length: > 0 } scope])
        {
            throw NativeError.Create(ErrorKind.InvalidConfiguration, "a request must have exactly one scope");
        }

        return new(scope) { TenantId = context.TenantId, Claims = context.Claims, IsCaeEnabled = context.IsCaeEnabled };
    }
}
