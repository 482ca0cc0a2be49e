-- Returns 1 where the server has too little memory left for a new job.
return beyond(JOB_SHARE, 0) and 1 or 0
