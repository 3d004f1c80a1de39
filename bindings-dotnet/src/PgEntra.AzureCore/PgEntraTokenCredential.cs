using Azure.Core;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra.AzureCore;

/// <summary>PgEntra's credentials for any client of the Azure SDK. Equal credentials share their tokens.</summary>
/// <remarks>
/// Where Azure.Identity is there, what goes wrong is its <c>CredentialUnavailableException</c> or
/// <c>AuthenticationFailedException</c> around the <see cref="PgEntraException"/>, so that its chains go on past an unavailable one.
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
            return Converted(Tokens.Get(Source, Converted(requestContext), cancellationToken));
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
            var token = await Tokens.GetAsync(Source, Converted(requestContext), cancellationToken).ConfigureAwait(false);
            return Converted(token);
        }
        catch (PgEntraException failure)
        {
            throw AzureErrors.Of(failure);
        }
    }

    private static Azure.Core.AccessToken Converted(PgEntra.Identity.AccessToken token) =>
        new(token.Token, token.ExpiresOn, token.RefreshOn);

    private static TokenRequest Converted(TokenRequestContext context)
    {
        if (context.Scopes is not [{ Length: > 0 } scope])
        {
            throw Library.Error(ErrorKind.InvalidConfiguration, "exactly one scope can be asked for");
        }

        return new(scope) { TenantId = context.TenantId, Claims = context.Claims, IsCaeEnabled = context.IsCaeEnabled };
    }
}
