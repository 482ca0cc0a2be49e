-- Takes nothing. Returns 1 where the server has too little memory left for a new job.
return left_of(JOB_SHARE) <= 0 and 1 or 0
