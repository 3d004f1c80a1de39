package pgentra

// TokenStats are the statistics of a cached token.
type TokenStats struct {
	// Credential is the credential's name.
	Credential string `json:"credential"`
	// Scope is the scope of the token.
	Scope string `json:"scope"`
	// Principal is the Entra identity that the token is for, or nil before the first token.
	Principal *Principal `json:"principal"`
	// Mode is the refresh mode; set by [TokenProvider.Stats] only.
	Mode RefreshMode `json:"mode"`
	// Role is the role of the last login; set by [TokenProvider.Stats] only.
	Role string `json:"role"`
	// RoleSource is where the role's name came from; set by [TokenProvider.Stats] only.
	RoleSource string `json:"role_source"`
	// ExpiresIn is the time until the token expires, in seconds, negative after that; nil without a token.
	ExpiresIn *float64 `json:"expires_in"`
	// RefreshDueIn is the time until the token's refresh point, in seconds; nil without a token.
	RefreshDueIn *float64 `json:"refresh_due_in"`
	// LastSuccess is the time of the last successful fetch, in seconds since 1970; nil before it.
	LastSuccess *float64 `json:"last_success"`
	// LastError is the first line of the last failure.
	LastError string `json:"last_error"`
	// ConsecutiveFailures is the number of failed fetches since the last successful one.
	ConsecutiveFailures int `json:"consecutive_failures"`
	// InFlight reports whether a fetch is in progress.
	InFlight bool `json:"in_flight"`
	// Fetches is the number of fetches.
	Fetches int64 `json:"fetches"`
	// Failures is the number of failed fetches.
	Failures int64 `json:"failures"`
	// Refreshes is the number of fetches in the background, after the refresh point.
	Refreshes int64 `json:"refreshes"`
	// Invalidations is the number of fetches after a rejected login.
	Invalidations int64 `json:"invalidations"`
}

// A Principal is the Entra identity that a token is for.
type Principal struct {
	// Kind is "user", "guest", "service_principal", "user_assigned_identity", "system_assigned_identity" and so on.
	Kind string `json:"kind"`
	// ObjectID is the object id.
	ObjectID string `json:"oid"`
	// TenantID is the tenant.
	TenantID string `json:"tid"`
	// ClientID is the application's id.
	ClientID string `json:"appid"`
}

// Stats returns the statistics of every cached token of this process.
func Stats() ([]TokenStats, error) { return nativeStats() }

// DecodeJWT returns all claims of a token, without verifying them.
func DecodeJWT(token string) (map[string]any, error) {
	if withoutNUL(token) != token {
		return nil, newError(ErrTokenDecode, "Invalid JWT token format", "", "")
	}
	return nativeDecodeJWT(token)
}

// ParsePrincipalName returns the name of the user-assigned identity in an `xms_mirid` claim, or "" for any other text.
func ParsePrincipalName(resourceID string) (string, error) {
	return nativeParsePrincipalName(withoutNUL(resourceID))
}
