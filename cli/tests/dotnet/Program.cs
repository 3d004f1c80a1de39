// Prints the first letters of the tokens of two credentials.

using Azure.Core;
using Azure.Identity;

var request = new TokenRequestContext([args[0]]);
TokenCredential[] credentials = [new ManagedIdentityCredential(ManagedIdentityId.SystemAssigned), new DefaultAzureCredential()];
foreach (var credential in credentials)
{
    Console.WriteLine((await credential.GetTokenAsync(request, default)).Token[..2]);
}
