package service

import (
	"bytes"
	"fmt"
	"net/http"
	"os"

	"go.uber.org/zap"

	"exportd/api"
	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/console"
	"exportd/internal/identity"
	"exportd/internal/panics"
)

// consolePath is where the console is, on whatever port.
const consolePath = "/console"

// openConsole makes the console over the API of this process, and puts it on the API's port where a setting
// says so; nil if there is none. The caller calls stop.
func openConsole(cfg config.Config, keys *apikey.Store, server *api.Server, told *panics.Reporter, log *zap.Logger) (page http.Handler, stop func(), err error) {
	if cfg.Console == "none" {
		return nil, func() {}, nil
	}
	sealer := keys.Sealer()
	if sealer == nil { // development without a keyset: sessions end with the process
		if sealer, err = apikey.PassingSealer(); err != nil {
			return nil, nil, err
		}
	}
	proxy, provider, roles, err := identities(cfg.SignIn)
	if err != nil {
		return nil, nil, err
	}
	c, err := console.New(console.Config{
		API: server, Keys: keys.Lookup, FreshKeys: keys.Fresh, Nonces: keys.UseNonce, Sealer: sealer, OwnLinks: cfg.LinksURL != "", LogsURL: cfg.ConsoleLogsURL, TraceURL: cfg.ConsoleTraceURL, Logger: log, Panics: told,
		As: api.WithOperator, Sessions: keys, Proxy: proxy, Provider: provider, Roles: roles, URL: cfg.SignIn.URL, Contact: cfg.SignIn.Contact,
	})
	if err != nil {
		return nil, nil, err
	}
	if cfg.Console == "public" {
		server.Mount(consolePath, c)
	}
	return c, c.Stop, nil // what is read for streams ends with them, which the servers end
}

// maxSecretFile bounds the secret of a client: one has some 40 characters.
const maxSecretFile = 4 << 10

// identities are who says by name who people are. None is asked anything before somebody signs in.
func identities(s config.ConsoleSignIn) (*identity.IAP, *identity.OIDC, identity.Roles, error) {
	var proxy *identity.IAP
	var provider *identity.OIDC
	roles := identity.Roles{Viewers: s.Viewers, Operators: s.Operators, Admins: s.Admins}
	if s.IAPAudience != "" {
		proxy = identity.NewIAP(identity.IAPConfig{Audience: s.IAPAudience})
	}
	if s.Issuer != "" {
		var secret []byte
		if s.SecretFile != "" {
			var err error
			if secret, err = os.ReadFile(s.SecretFile); err != nil {
				return nil, nil, roles, config.Faults{fmt.Sprintf("EXPORTD_CONSOLE_OIDC_SECRET_FILE: %v", err)}
			}
			if secret = bytes.TrimSpace(secret); len(secret) == 0 || len(secret) > maxSecretFile {
				return nil, nil, roles, config.Faults{"EXPORTD_CONSOLE_OIDC_SECRET_FILE: the file has no secret, or more than one"}
			}
		}
		provider = identity.NewOIDC(identity.OIDCConfig{
			Issuer: s.Issuer, ClientID: s.ClientID, Secret: string(secret), RedirectURL: s.URL + console.CallbackPath, Claim: s.RoleClaim, Roles: roles,
		})
	}
	return proxy, provider, roles, nil
}
