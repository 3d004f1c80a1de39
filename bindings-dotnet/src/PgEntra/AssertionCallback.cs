using PgEntra.Identity;

namespace PgEntra;

/// <summary>A function of the application that returns a client assertion. The engine handles the assertion as a token.</summary>
internal sealed class AssertionCallback : CustomCredential
{
    private readonly Func<string>? callback;
    private readonly Func<CancellationToken, Task<string>>? callbackAsync;

    internal AssertionCallback(Func<string> callback) =>
        this.callback = callback ?? throw new ArgumentNullException(nameof(callback));

    internal AssertionCallback(Func<CancellationToken, Task<string>> callback) =>
        callbackAsync = callback ?? throw new ArgumentNullException(nameof(callback));

    internal override string Name => "assertion callback";

    internal override bool IsSynchronous => callback is not null;

    internal override AccessToken GetToken(TokenRequest request) => Token(callback!());

    internal override async ValueTask<AccessToken> GetTokenAsync(TokenRequest request) =>
        Token(callbackAsync is null ? callback!() : await callbackAsync(default).ConfigureAwait(false));

    private static AccessToken Token(string assertion) => new(assertion, default);
}
