// Package notify tells webhooks what happened to a bucket's objects: the
// notification configuration and its filters, Amazon's event message, and
// delivery.
//
// A target is a webhook that an administrator recorded under a name (see
// Webhooks); a bucket's configuration names it as
//
//	arn:hallig:webhook:::NAME
//
// in a TopicConfiguration, QueueConfiguration or CloudFunctionConfiguration,
// which all mean the same here. A client can never give a URL, so that a
// bucket's owner cannot make the server call addresses of their choice.
//
// Delivery is one HTTP POST per event, at least once, in no promised order. An
// event whose delivery failed, and what waits behind it, is kept in the
// catalog (sealed, as all records are) and tried again with growing pauses,
// across restarts, until Config.GiveUp. What is lost when the process dies at
// once is only what was not tried yet.
//
// Sources: "Event message structure" and "Configuring event notifications
// using object key name filtering", Amazon S3 user guide.
package notify
