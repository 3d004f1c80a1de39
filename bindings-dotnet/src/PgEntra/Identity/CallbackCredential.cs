namespace PgEntra.Identity;

/// <summary>Obtains tokens from a function of the application.</summary>
/// <remarks>Tokens are cached with the object. The function is called when a fetch is due.</remarks>
public sealed class CallbackCredential : PgEntraCredential
{
    /// <param name="getToken">Returns a token. It is called on a thread of the thread pool, or on a separate thread while a caller blocks.</param>
    public CallbackCredential(Func<TokenRequest, AccessToken> getToken)
        : this(new Callback(getToken ?? throw new ArgumentNullException(nameof(getToken)), null, takesScope: true))
    {
    }

    /// <param name="getToken">Returns a token asynchronously.</param>
    public CallbackCredential(Func<TokenRequest, CancellationToken, ValueTask<AccessToken>> getToken)
        : this(new Callback(null, getToken ?? throw new ArgumentNullException(nameof(getToken)), takesScope: true))
    {
    }

    /// <param name="getToken">Returns a token for the database. It does not receive the scope, so no management token is requested.</param>
    public CallbackCredential(Func<AccessToken> getToken)
        : this(new Callback(WithoutRequest(getToken), null, takesScope: false))
    {
    }

    private CallbackCredential(Callback callback)
        : base(new(CredentialDocument.Custom(callback)))
    {
    }

    private static Func<TokenRequest, AccessToken> WithoutRequest(Func<AccessToken> getToken)
    {
        ArgumentNullException.ThrowIfNull(getToken);
        return _ => getToken();
    }

    private sealed class Callback(
        Func<TokenRequest, AccessToken>? getToken,
        Func<TokenRequest, CancellationToken, ValueTask<AccessToken>>? getTokenAsync,
        bool takesScope) : CustomCredential
    {
        internal override string Name => nameof(CallbackCredential);

        internal override bool TakesScope => takesScope;

        internal override bool IsSynchronous => getToken is not null;

        internal override AccessToken GetToken(TokenRequest request) => getToken!(request);

        internal override ValueTask<AccessToken> GetTokenAsync(TokenRequest request) =>
            getTokenAsync is null ? new(getToken!(request)) : getTokenAsync(request, default);
    }
}
