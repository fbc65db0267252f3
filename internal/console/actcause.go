package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"exportd/api/client"
)

// previewCause reads what running a cause again would touch.
func (c *Console) previewCause(ctx context.Context, p *confirmPage) error {
	of, err := c.api.OpsGetCauseWithResponse(ctx, p.Cause)
	if err != nil {
		return err
	}
	p.Of = &of.JSON200.Cause
	answer, err := c.api.OpsRerunCauseWithBodyWithResponse(ctx, p.Cause, asJSON, body(p.preview()))
	if err != nil {
		return err
	}
	if p.Of.Of == client.CauseOfCallbacks {
		return json.Unmarshal(answer.Body, &p.Matched)
	}
	return json.Unmarshal(answer.Body, &p.Preview)
}

// rerunCause begins again what a cause has ended: jobs by a batch, callbacks at once.
func (c *Console) rerunCause(ctx context.Context, r *http.Request, t target, fields map[string]any) (string, error) {
	for round := range maxRounds {
		answer, err := c.api.OpsRerunCauseWithBodyWithResponse(ctx, t.Cause, asJSON, body(fields), c.once(r, fmt.Sprint(round)))
		if err != nil {
			return "", err
		}
		if answer.JSON202 != nil {
			return home + "/batches/" + url.PathEscape(answer.JSON202.BatchID) + "?said=cause", nil
		}
		var sent client.Redelivered
		if err := json.Unmarshal(answer.Body, &sent); err != nil {
			return "", err
		}
		if sent.Complete || sent.NextPageToken == nil {
			return home + "/causes/" + url.PathEscape(t.Cause) + "?said=redelivered", nil
		}
		fields["pageToken"] = *sent.NextPageToken
	}
	return home + "/causes/" + url.PathEscape(t.Cause) + "?said=some", nil
}

func (c *Console) changeBatch(ctx context.Context, r *http.Request, t target, fields map[string]any) (err error) {
	switch t.Name {
	case "pause-batch":
		_, err = c.api.OpsPauseBatchWithBodyWithResponse(ctx, t.Batch, asJSON, body(fields), c.once(r, ""))
	case "resume-batch":
		_, err = c.api.OpsResumeBatchWithBodyWithResponse(ctx, t.Batch, asJSON, body(fields), c.once(r, ""))
	default:
		_, err = c.api.OpsCancelBatchWithBodyWithResponse(ctx, t.Batch, asJSON, body(fields), c.once(r, ""))
	}
	return err
}
