package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"exportd/api/client"
)

func (a *app) opsRedeliver() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "redeliver JOB", Short: "Send the callback of an ended job again", Args: oneArg("job id"), ValidArgsFunction: a.completeJobs(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.service(true, fewTries)
			if err != nil {
				return err
			}
			body, err := post(cmd.Context(), c, "ops/jobs/"+url.PathEscape(args[0])+"/callback/redeliver", client.RequiredReason{Reason: reason})
			if err != nil {
				return about(args[0], err)
			}
			if a.asJSON {
				return a.printJSON(body)
			}
			a.say("The callback of job %s is on its way again.", args[0])
			return nil
		},
	}
	needReason(cmd, &reason)
	return cmd
}

// maxAnswer bounds what post reads: a job with its callbacks is a few KiB.
const maxAnswer = 1 << 20

// post sends a signed request to a route.
func post(ctx context.Context, c *client.Client, path string, body any) ([]byte, error) {
	raw, ok := c.ClientInterface.(*client.RawClient)
	if !ok {
		return nil, errors.New("client does not send requests") // it is what client.New makes
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, raw.Server+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := raw.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return answer, nil
}
