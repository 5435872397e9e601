# HELP fastnet_ping_requests_total Requests that were answered or given up
# TYPE fastnet_ping_requests_total counter
fastnet_ping_requests_total{address="127.0.0.1",host="127.0.0.1"} 1.0
# HELP fastnet_ping_lost_total Requests without a reply in time
# TYPE fastnet_ping_lost_total counter
fastnet_ping_lost_total{address="127.0.0.1",host="127.0.0.1"} 0.0
# HELP fastnet_ping_not_sent_total Requests that could not be sent
# TYPE fastnet_ping_not_sent_total counter
fastnet_ping_not_sent_total{address="127.0.0.1",host="127.0.0.1"} 0.0
# HELP fastnet_ping_duplicates_total Further replies to an answered request
# TYPE fastnet_ping_duplicates_total counter
fastnet_ping_duplicates_total{address="127.0.0.1",host="127.0.0.1"} 0.0
# HELP fastnet_ping_rtt_seconds Round-trip time
# TYPE fastnet_ping_rtt_seconds histogram
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="5e-05"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.0001"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.0002"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.0005"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.001"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.002"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.005"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.01"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.02"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.05"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.1"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.2"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="0.5"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="1.0"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="2.0"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="5.0"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="10.0"} 1.0
fastnet_ping_rtt_seconds_bucket{address="127.0.0.1",host="127.0.0.1",le="+Inf"} 1.0
fastnet_ping_rtt_seconds_count{address="127.0.0.1",host="127.0.0.1"} 1.0
fastnet_ping_rtt_seconds_sum{address="127.0.0.1",host="127.0.0.1"} 8.153e-06
