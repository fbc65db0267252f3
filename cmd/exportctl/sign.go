package main

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) signCommand() *cobra.Command {
	var operator bool
	cmd := &cobra.Command{
		Use: "sign", Short: "Print the headers of a signed request, for curl", Args: noArgs,
		Long: `Prints the headers that sign a request, as options for curl. They work for about a
minute, for any request, and whoever has them can make one: do not log them.

They are of version 1 of the signature, which a key may refuse.

With --url the URL of the service is printed behind them.`,
		Example: "  curl $(exportctl sign --url)/vip-users?...   # in a shell with word splitting\n  exportctl sign --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.profile()
			if err != nil {
				return err
			}
			if p.SignatureVersion == 2 {
				return &usageError{
					text: p.origin + " signs by version 2, and such a signature is for one request that must be known",
					hint: "\"sign\" is for version 1, with a key that accepts it.",
				}
			}
			withURL, _ := cmd.Flags().GetBool("url") // the flag is there
			key, secret := p.credentials(operator)
			h := http.Header{}
			client.SetSignature(h, key, secret, a.now())
			names := []string{"x-api-key", "x-date", "x-signature"}
			if a.asJSON {
				headers := map[string]string{}
				for _, name := range names {
					headers[name] = h.Get(name)
				}
				return a.printValue(headers)
			}
			// No space in any of them, so that $(...) splits them right.
			var words []string
			for _, name := range names {
				words = append(words, "-H "+name+":"+h.Get(name))
			}
			if withURL {
				words = append(words, strings.TrimSuffix(p.URL, "/"))
			}
			fmt.Fprintln(a.stdout, clean(strings.Join(words, " "), false))
			return nil
		},
	}
	cmd.Flags().BoolVar(&operator, "ops", false, "with the operator's key of the profile")
	cmd.Flags().Bool("url", false, "print the URL of the service behind them")
	return cmd
}
